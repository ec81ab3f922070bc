"""The laboratory: real images, registries, daemons and peers for tests and benchmarks, made from Debian's packages."""
