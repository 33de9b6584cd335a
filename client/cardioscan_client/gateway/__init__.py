"""The gRPC service ``cardioscan.v1``: pictures in, records out; its server and its client. Needs the extra `gateway`.

The modules of this package import gRPC when they are imported; nothing outside of it imports them before they are used.
"""
