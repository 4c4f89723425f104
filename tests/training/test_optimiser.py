from training_toys import toy_net, toy_settings

from medimg.training.optimiser import build_optimiser, parameter_groups, set_learning_rate


def test_groups():
    network = toy_net(norm=True)
    settings = toy_settings(encoder_lr_factor=0.1, weight_decay=0.05)
    groups = {(g["lr_factor"], g["weight_decay"]): g["names"] for g in parameter_groups(network, settings)}
    assert groups[0.1, 0.05] == ["encoder.0.weight", "encoder.3.weight"]
    assert groups[0.1, 0.0] == ["encoder.0.bias", "encoder.1.weight", "encoder.1.bias", "encoder.3.bias"]
    assert groups[1.0, 0.05] == ["head.weight"]
    assert groups[1.0, 0.0] == ["head.bias"]


def test_frozen_parameters_are_left_out_and_rates_follow_the_factor():
    network = toy_net()
    network.head.requires_grad_(False)
    optimiser = build_optimiser(network, toy_settings(encoder_lr_factor=0.1))
    set_learning_rate(optimiser, 2.0)
    assert {group["lr"] for group in optimiser.param_groups} == {0.2}
