"""Hold what a run was asked for, as plain values.

roles       what each setting is for, from which all else that depends on it follows
run_config  one run's settings, composed and resolved once
"""

from tunebook.config.roles import Role, role_of
from tunebook.config.run_config import RunConfig, Settings, plain

__all__ = ["Role", "RunConfig", "Settings", "plain", "role_of"]
