"""Find a learning rate or a batch size before a run.

A finder draws a picture and suggests a value; nothing that a run computes depends on it.

find            runs the finder that the setting `find` names
learning_rate   trains some steps while the learning rate rises
batch_size      trains some steps with larger and larger batches
outcome         writes what was found, and the command that uses it
"""
