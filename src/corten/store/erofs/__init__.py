"""Layers as EROFS images around the tar that they came as. Blocking or pure; no mount is made by the writing part.

    [4096 bytes: zeros, the superblock at 1024][the uncompressed tar, byte for byte][copies of unaligned sparse files]
    [inodes][directories]

Blocks are of 512 bytes, as tar's, so that a file's data is where the tar has it. See docs/storage.md. Files that come
from elsewhere than a tar are written by `shown.py`.
"""
