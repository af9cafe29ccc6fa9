"""Describe the files of conf/ as JSON schemas, with which an editor completes and checks them.

values     the schema of one value, from a constructor's annotation
notes      each key's comment and value in conf/
classes    the settings of a class that a `_target_` names
configs    the files of each group, the primary configs, experiments
files      writes the schemas to conf/.schema/, one for each kind of file
"""

from tunebook.schema.files import check, write

__all__ = ["check", "write"]
