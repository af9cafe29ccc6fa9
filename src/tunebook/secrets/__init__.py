"""What must not be written down: passwords in addresses, and the values of settings and variables named like secrets.

names       which name is a secret's
addresses   where in an address its secrets are
values      which value tells a secret
views       what a text reads as once its escapes are undone
encodings   a text in every form in which programs write it
packed      a text in hexadecimal, base64 and base32
known       the secrets of this process, found in a text in whatever form they were encoded
pairs       values beside the name of a secret: in settings, on a command line
markup      secrets in XML, and private keys
patterns    what looks like a secret that this process does not know
redaction   the two together, for texts and for settings
output      the terminal and the log
"""

from tunebook.secrets.names import is_secret
from tunebook.secrets.output import RedactingFormatter, redact_output
from tunebook.secrets.redaction import fits, learn, learn_words, redact, redacted
from tunebook.secrets.values import HIDDEN

__all__ = [
    "HIDDEN",
    "RedactingFormatter",
    "fits",
    "is_secret",
    "learn",
    "learn_words",
    "redact",
    "redact_output",
    "redacted",
]
