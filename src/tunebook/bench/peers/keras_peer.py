"""Train the notebook's network in Keras: an epoch for each line on standard input.

Arguments: a file of arrays (.npz: train_images and val_images uint8 (N, H, W), train_labels and
val_labels), the batch size, and a precision of Keras. It writes "ready", then the seconds of each
epoch with its validation. The interpreter needs keras and a backend for it, but not Tunebook.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def network(keras: Any, side: int) -> Any:
    """Return the compiled network of the notebook."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((side, side, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax", dtype="float32"),
        ]
    )
    model.compile(
        loss="categorical_crossentropy",
        optimizer=keras.optimizers.Adadelta(learning_rate=1.0),
        metrics=["accuracy"],
    )
    return model


def load(keras: Any, file: str, splits: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Return the images, in [0, 1], and the one-hot labels of each split."""
    import numpy as np

    with np.load(file) as arrays:
        return {
            split: (
                arrays[f"{split}_images"].astype("float32")[..., None] / 255,
                keras.utils.to_categorical(arrays[f"{split}_labels"], 10),
            )
            for split in splits
        }


def main() -> None:
    """Train an epoch whenever a line is read, until there is none."""
    import keras  # type: ignore[import-not-found]

    file, batch_size, precision = sys.argv[1:]
    keras.mixed_precision.set_global_policy(precision)
    parts = load(keras, file, ("train", "val"))
    model = network(keras, parts["train"][0].shape[1])
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        model.fit(
            *parts["train"],
            batch_size=int(batch_size),
            epochs=1,
            verbose=0,
            validation_data=parts["val"],
        )
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
