"""What comes out of a build: one file an exporter, one line each in `export.EXPORTERS`."""
