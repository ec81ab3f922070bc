"""Log drivers, the reading side: what the shim wrote, for clients. Blocking code; daemon only.

`json-file` and `local` keep the same files (`local` rotates by default); `none` keeps nothing.
"""
