"""The /networks endpoints."""
