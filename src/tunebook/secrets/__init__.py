"""What must not be written down: passwords in addresses, and the values of settings and variables named like secrets.

names       which name is a secret's
addresses   where in an address its secrets are
known       the secrets of this process, found in a text in whatever form they were encoded
patterns    what looks like a secret that this process does not know
redaction   the two together, for texts and for settings
output      the terminal and the log
"""

from tunebook.secrets.output import RedactingFormatter, redact_output
from tunebook.secrets.patterns import HIDDEN
from tunebook.secrets.redaction import fits, learn, learn_words, redact, redacted

__all__ = ["HIDDEN", "RedactingFormatter", "fits", "learn", "learn_words", "redact", "redact_output", "redacted"]
