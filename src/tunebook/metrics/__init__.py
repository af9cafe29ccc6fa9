"""Measure how well a network classifies; the only package that knows the metrics by name.

facts      what is known of each metric: its name in MLflow, direction, format, limits, chance level
objective  which metric of a run selects its best epoch, and in which direction
running    loss and accuracy as running sums, which cost a training step almost nothing
kept       further metrics of torchmetrics, from the kept logits of a whole validation or test
intervals  how much the test metrics would vary with other test images
classes    how well each class is recognized

`facts` does not import torch, because reports and checks of a config need it.
"""
