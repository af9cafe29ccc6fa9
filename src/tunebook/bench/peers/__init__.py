"""Hold the scripts that other frameworks run in processes of their own.

None of them needs Tunebook, and none is imported by it. Their interpreters may be others, since
these frameworks and MLflow or Optuna need different versions of packages.

keras_peer        trains an epoch of the notebook's network in Keras whenever it is asked to
keras_script      the notebook's whole script in Keras, from its imports to its test
digits_lightning  the notebook's network and its data, for the two sweeps below
ray_peer          a sweep with Ray Tune
hydra_optuna_peer a sweep with Hydra's Optuna sweeper; hydra_optuna.yaml is its config
"""
