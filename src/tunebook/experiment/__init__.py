"""One run from config to result: the only place where config becomes objects.

assembly   a config's plain values -> objects
early      what can be said of a config with torch alone
check      whether a config can run, before anything is loaded or made
run        trains, tests once and returns the objective
resolve_resume  finds the run to go on with, without torch
resume     loads its checkpoint, and makes sure that it is still the same run
elsewhere  brings a run here that MLflow or a checkpoint alone knows
places     what a run's folder may not choose for its user
compatibility whether a checkpoint's state fits the run's objects
changes    fits a checkpoint to settings that a user changed on the way
record     what a run writes down, before, after and in its summary
requested_run  checks the settings of evaluate, predict and reproduce, and finds the run that they name
images     reads images from outside
restore    rebuilds a run from its MLflow run, its folder or a checkpoint alone
evaluation tests it again
prediction says what images show
reproduction runs a finished run's stored config again
comparison two runs of one config, point by point, and what was different about them
"""
