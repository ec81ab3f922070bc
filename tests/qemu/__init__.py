"""Tests in a QEMU guest that has cgroup v2 alone, for machines that have v1 or no control over theirs."""
