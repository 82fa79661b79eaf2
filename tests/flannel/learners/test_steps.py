"""Single training steps of a base learner: losses, views, weights and micro-batches."""

import warnings

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Trainer

from flannel.data.diagnosis import FLANNEL
from flannel.learners.datamodule import RadiographDataModule
from flannel.learners.learner import BaseLearner, TrainingError
from flannel.learners.views import normalise
from flannel.losses import FocalLoss


@pytest.fixture
def batch(phantom_study):
    """Eight training images as a learner gets them, with those of each class counted."""
    data = RadiographDataModule(phantom_study, batch_size=8, size_px=32, resize_px=40, flip=0.0)
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def small_learner(**options):
    """Builds a learner with a network without BatchNorm, that is not in a Trainer."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4))
    model = BaseLearner(network, FLANNEL, channels_last=False, **options)
    model.log = lambda *_args, **_options: None
    return model


def test_the_l1_term_adds_the_absolute_parameters(batch):
    plain, with_l1 = small_learner(), small_learner(l1=0.01)
    absolute = sum(p.abs().sum().item() for p in plain.network.parameters())
    difference = with_l1.training_step(batch, 0).item() - plain.training_step(batch, 0).item()
    assert difference == pytest.approx(0.01 * absolute, rel=1e-4)


def test_the_loss_is_cross_entropy_by_default_and_focal_loss_by_class_path(batch):
    plain = small_learner()
    logits = plain.network(normalise(batch.pixels.flatten(0, 1), "imagenet"))
    expected = torch.nn.functional.cross_entropy(logits, batch.target)
    torch.testing.assert_close(plain.training_step(batch, 0), expected)
    focal = small_learner(loss=FocalLoss(2, reduction="none"))
    torch.testing.assert_close(
        focal.training_step(batch, 0), FocalLoss(2, reduction="mean")(logits, batch.target)
    )


def test_training_views_depart_as_drawn_and_validation_views_never(phantom_study):
    data = RadiographDataModule(
        phantom_study, batch_size=8, size_px=32, resize_px=40, rotation_degrees=20, lighting=0.3
    )
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    departed = batch.augmented_by.apply(batch.pixels)
    assert not torch.equal(departed, batch.pixels)
    model, plain = small_learner(), batch._replace(pixels=departed, augmented_by=None)
    torch.testing.assert_close(model.training_step(batch, 0), model.training_step(plain, 0))
    seen = []
    model.network.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    model.refresh(batch)
    torch.testing.assert_close(seen[0], normalise(departed.flatten(0, 1), "imagenet"))
    assert next(iter(data.val_dataloader())).augmented_by is None


def test_from_the_bytes_to_the_network_the_device_is_asked_for_no_value(phantom_study):
    """The meta device has none; Lightning's transfer takes the augmented_by along."""
    data = RadiographDataModule(
        phantom_study, arm="patched", batch_size=8, size_px=32, window_px=24, train_patches=3,
        rotation_degrees=20, zoom=0.1, lighting=0.3,
    )  # fmt: skip
    data.setup("fit")
    batch = move_data_to_device(next(iter(data.train_dataloader())), torch.device("meta"))
    images = small_learner()._images(batch)
    assert (images.shape, images.device.type) == ((24, 3, 32, 32), "meta")


def test_class_weights_multiply_the_losses_of_their_class(batch):
    model = small_learner(class_weights="inverse_frequency")
    model.weight_of_class = torch.tensor([4.0, 3.0, 2.0, 1.0])
    logits = model.network(normalise(batch.pixels.flatten(0, 1), "imagenet"))
    each = torch.nn.functional.cross_entropy(logits, batch.target, reduction="none")
    expected = sum((4 - t) * loss for t, loss in zip(batch.target, each, strict=True)) / 8
    torch.testing.assert_close(model.training_step(batch, 0), expected)


def test_a_loss_that_sums_by_itself_is_refused(batch):
    with pytest.raises(TrainingError, match=r"FocalLoss gave a tensor of shape .* for 8 views"):
        small_learner(loss=FocalLoss(2)).training_step(batch, 0)


@pytest.fixture
def plain_trainer():
    """Returns a Trainer that writes nothing, and whose warnings about itself are not ours."""

    def build(**options):
        return Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
            use_distributed_sampler=False, **options,
        )  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield build


@pytest.mark.parametrize(
    ("weights", "order", "twice"),
    [("inverse_frequency", "balanced", True), ("inverse_frequency", "shuffled", False),
     (None, "balanced", False)],
)  # fmt: skip
def test_rare_diagnoses_that_count_twice_are_told(
    phantom_study, plain_trainer, capsys, weights, order, twice
):
    model = small_learner(class_weights=weights)
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.0)
    data = RadiographDataModule(phantom_study, batch_size=4, size_px=32, order=order)
    plain_trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1).fit(
        model, datamodule=data
    )
    printed = capsys.readouterr().err
    assert ("model.class_weights and data.order=balanced" in printed) is twice


@pytest.mark.parametrize("anew", [False, True])
def test_lightning_tells_the_validation_sampler_its_epoch(phantom_study, plain_trainer, anew):
    seen = []
    model = small_learner()
    model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.0)
    model.validation_step = lambda batch, batch_idx: seen.append(batch.places.centres.tolist())
    data = RadiographDataModule(
        phantom_study, arm="patched", batch_size=40, size_px=32, window_px=24, val_anew=anew
    )
    plain_trainer(max_epochs=3, limit_train_batches=1).fit(model, datamodule=data)
    assert len(seen) == 3
    assert len({str(centres) for centres in seen}) == (3 if anew else 1)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(10, 2), (12, 3)])
def test_micro_batches_give_the_gradient_of_the_batch(
    phantom_study, plain_trainer, batch_size, accumulate
):
    """Without BatchNorm; 25 training images in steps of 10 leave a short last step of 5."""

    def gradients(parts):
        model = small_learner(l1=1e-3, class_weights="inverse_frequency")
        found = []
        model.configure_optimizers = lambda: torch.optim.SGD(model.parameters(), lr=0.1)
        model.on_before_optimizer_step = lambda _: found.append(
            model.network[1].weight.grad.clone()
        )
        trainer = plain_trainer(max_epochs=1, limit_val_batches=0, accumulate_grad_batches=parts)
        data = RadiographDataModule(
            phantom_study, batch_size=batch_size, size_px=32, resize_px=40,
            accumulate=parts,
        )  # fmt: skip
        trainer.fit(model, datamodule=data)
        return found

    whole, parted = gradients(1), gradients(accumulate)
    assert len(whole) == len(parted) >= 2
    for a, b in zip(whole, parted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
