"""Name the tags of MLflow runs that other parts of Tunebook read again."""

RUN_KEY = "tunebook.key"  # unique for each run, and written in its folder as well
SWEEP_NAME = "sweep.name"  # of a sweep's parent run, and of its trials
SWEEP_KIND = "sweep.kind"  # "sweep" for a sweep's parent run
SWEEP_TRIAL = "sweep.trial"  # the number of a trial
SWEEP_STATE = "sweep.state"  # of a trial, which MLflow's status does not show
PRUNED_AT_EPOCH = "sweep.pruned_at_epoch"  # of a trial that its sweep pruned
RESUMED_CHANGES = "resumed.changes"  # the settings that were changed when a run was resumed
RESUMED_FROM = "resumed.from"  # the checkpoint from elsewhere that a run was resumed from
REPRODUCES = "reproduces"  # the id of the run that a reproduction repeats
TESTED_WEIGHTS = "tested_weights"  # "best" or "last"
IMAGES = "data.images"  # the name of the user's own images, and a digest of their content
WEIGHTS = "weights.sha256"  # the digest of the pretrained weights that the run started from
TEST_INTERVALS = "test.intervals"  # JSON: the 95 % interval of each test metric
PROJECT_NAME = "project"  # the name of the user's project
PROJECT_CODE = "project.code"  # the digest of its package's files
