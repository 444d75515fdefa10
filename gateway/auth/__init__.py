"""
Authentication: from a token's text to an `Identity`, or to an `AuthError`.

    jws            the compact form of a signed token, parsed strictly
    keys           keys typed by algorithm family, so that none can be used as another kind
    jwks           the provider's key set, fetched in the background
    issue          the making of tokens, for development and tests
    authenticator  keys + policy + cache of verified tokens
"""

from gateway.auth.authenticator import Authenticator
from gateway.auth.issue import issue_token
from gateway.auth.jwks import Jwks
from gateway.auth.keys import Key, hmac_key, public_key, public_key_file

__all__ = ["Authenticator", "Jwks", "Key", "hmac_key", "issue_token", "public_key", "public_key_file"]
