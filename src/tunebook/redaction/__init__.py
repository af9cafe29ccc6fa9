"""Keep passwords, tokens and keys out of everything that the program writes.

These are passwords in addresses, and the values of settings and environment variables that are
named like secrets.

names       decides which names belong to secrets
addresses   finds the secrets in an address
values      decides whether a value reveals a secret
views       decodes the escapes in a text
encodings   matches a text in every form in which programs write it
packed      finds a secret in hexadecimal, base64 and base32
known       hides the secrets that this process knows, in any encoding
pairs       finds values next to the name of a secret: in settings, on a command line
markup      finds secrets in XML, and private keys
patterns    finds what looks like a secret that this process does not know
hide        hides both kinds, in texts and in settings
output      redacts the terminal and the log
"""

from tunebook.redaction.hide import fits, learn, learn_words, redact, redacted
from tunebook.redaction.names import is_secret
from tunebook.redaction.output import RedactingFormatter, redact_output
from tunebook.redaction.values import HIDDEN

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
