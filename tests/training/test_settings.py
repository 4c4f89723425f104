import pytest

from medimg.errors import ConfigError
from medimg.training.settings import MACHINE_FIELDS, FitSettings


def test_defaults_are_valid_and_lists_become_tuples():
    settings = FitSettings(patch=[8, 8, 8], loggers=["tensorboard"])
    assert settings.patch == (8, 8, 8)
    assert settings.loggers == ("tensorboard",)
    assert settings.samples_per_step == settings.batch_size


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 0),
        ("batch_size", -1),
        ("patch", (8,)),
        ("patch", (8, 0)),
        ("foreground_probability", 1.5),
        ("optimiser", "adam"),
        ("schedule", "cosin"),
        ("precision", "fp16"),
        ("learning_rate", 0.0),
        ("clip_norm", 0.0),
        ("ema_decay", 1.0),
        ("workers", -1),
        ("threads", 0),
        ("loggers", ("wandb",)),
        ("warmup_steps", 5000),
        ("early_stop_patience", 0),
        ("strategy", "horovod"),
        ("accelerator", "tpu"),
        ("balance", "subject"),
    ],
)
def test_wrong_values_name_their_key(key, value):
    with pytest.raises(ConfigError) as caught:
        FitSettings(**{key: value})
    assert caught.value.where == f"trainer.{key}"


def test_batch_must_be_shared_evenly():
    with pytest.raises(ConfigError, match="shared evenly"):
        FitSettings(batch_size=3, devices=2)


def test_what_decides_the_result_leaves_the_machine_out():
    kept = FitSettings(patch=(4, 4)).what_decides_the_result()
    assert not MACHINE_FIELDS & kept.keys()
    assert kept["patch"] == [4, 4]
    assert {*MACHINE_FIELDS} <= set(FitSettings.__dataclass_fields__)


def test_settings_are_a_schema_for_configurations():
    omegaconf = pytest.importorskip("omegaconf")
    schema = omegaconf.OmegaConf.structured(FitSettings)
    merged = omegaconf.OmegaConf.merge(schema, {"steps": 7, "patch": [8, 8], "ema_decay": None})
    settings = omegaconf.OmegaConf.to_object(merged)
    assert isinstance(settings, FitSettings)
    assert (settings.steps, settings.patch, settings.ema_decay) == (7, (8, 8), None)
    with pytest.raises(omegaconf.errors.ConfigKeyError):
        omegaconf.OmegaConf.merge(schema, {"stepps": 7})
