"""Docker's plugin protocol (legacy, version 1) for networks and address management. Daemon only."""
