"""Run one config from its settings to its result; only here does a config become objects.

assembly        builds a run's objects from a config's plain values
early           checks what torch alone can check of a config, before Lightning is imported
check           checks that a config can run, before anything is loaded or made
memory          estimates how much memory a network needs
run             trains, tests once and returns the objective
trial           connects a run with its sweep
record          records a run before training, after it and in its summary
resolve_resume  finds the run to resume, without torch
resume          loads its checkpoint, and checks that it is still the same run
elsewhere       fetches a run to resume that only MLflow or a checkpoint knows
places          refuses the places that another person's run folder names
compatibility   checks that a checkpoint's state fits the run's objects
changes         adapts a checkpoint to settings that the user changed
requested_run   finds the run that evaluate, predict or reproduce names, and checks their settings
images          reads images from outside
restore         rebuilds a run from its MLflow run, its folder or a checkpoint alone
evaluation      tests a finished run again
prediction      predicts the classes of images
reproduction    runs a finished run's stored config again
comparison      compares two runs of one config point by point, and lists what else differed
"""
