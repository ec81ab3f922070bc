"""What is said of a build's result beside it: provenance, and what packages it holds."""
