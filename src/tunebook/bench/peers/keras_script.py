"""Run the notebook's whole script in Keras: train, validate after each epoch, and test.

Arguments: a file of arrays (.npz: images uint8 (N, H, W) and labels of train, val and test), the
batch size, the epochs, and a precision of Keras. Its last line has the number of epochs and the
test loss. The interpreter needs keras and a backend for it, but not Tunebook.
"""

import sys

from keras_peer import load, network  # type: ignore[import-not-found]  # sets Keras's backend


def main() -> None:
    """Run the script."""
    import keras  # type: ignore[import-not-found]

    file, batch_size, epochs, precision = sys.argv[1:]
    keras.utils.set_random_seed(1337)
    keras.mixed_precision.set_global_policy(precision)
    parts = load(keras, file, ("train", "val", "test"))
    model = network(keras, parts["train"][0].shape[1])
    history = model.fit(
        *parts["train"],
        batch_size=int(batch_size),
        epochs=int(epochs),
        verbose=2,
        validation_data=parts["val"],
    )
    loss, _ = model.evaluate(*parts["test"], verbose=0)
    print(len(history.epoch), loss)


if __name__ == "__main__":
    main()
