"""Run one experiment from config to result; only this package builds objects from a config.

assemble        builds a run's objects from a config's plain values
early_check     checks what can be checked with torch alone, before Lightning is imported
check           checks that a config can run, before anything is loaded or created
memory          estimates how much memory a network needs
execute         trains, tests once and returns the objective
trial           connects a run to its sweep
record          records a run before and after training, and prints its summary
pictures        draws the pictures of a tested run
details         records an interval of each test metric, and the result of each class
stored_run      finds an earlier run, and reads what is stored of it
resolve_resume  finds the run to resume, without torch
resume          loads its checkpoint, and checks that it is still the same run
fetch_external  fetches a run to resume from MLflow, or from a checkpoint alone
places          refuses the locations that another person's run folder names
compatibility   checks that a checkpoint's state fits the run's objects
resume_changes  adapts a checkpoint to settings that the user changed
requested_run   checks the settings of evaluate, predict and reproduce
images          reads image files, which are not trusted
restore         rebuilds an earlier run's network and data
evaluate        tests a finished run again
predict         predicts the classes of images
finders         suggest a learning rate or a batch size before a run
reproduce       trains a finished run's stored config again
snapshot        compares two runs of a config point by point, and lists what else differed
"""
