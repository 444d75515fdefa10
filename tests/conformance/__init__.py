"""The Autobahn cases, run by `kosoku` against the real server."""
