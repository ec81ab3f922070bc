"""What the engine keeps: records in SQLite, blobs by digest, layers and writable snapshots. Blocking code."""
