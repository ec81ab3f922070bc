"""Volumes: drivers, and the filling of new ones from images. Blocking code; daemon only."""
