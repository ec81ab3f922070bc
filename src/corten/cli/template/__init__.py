"""Go's text/template, the part that people use in --format: parsing, evaluation, functions, and Go's way to print."""
