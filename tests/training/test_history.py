from medimg.training.history import History, read_rows


def test_rows_are_cut_back_and_continued(tmp_path):
    path = tmp_path / "metrics.csv"
    history = History(path)
    history.add({"step": 1, "loss": 0.1 + 0.2})
    history.add({"step": 2, "loss": 0.25, "tuning_dice": 0.5})
    history.add({"step": 3, "loss": float("nan")})
    assert path.read_text().splitlines()[0] == "step,loss,tuning_dice"
    # A kill in the middle of a row must not leave "1", a cut "12", as a row of step 1.
    with path.open("a") as file:
        file.write("1")
    again = History(path, step=2)
    again.add({"step": 3, "loss": 0.125})
    assert read_rows(path) == again.rows
    assert again.rows == [
        {"step": 1, "loss": 0.1 + 0.2},
        {"step": 2, "loss": 0.25, "tuning_dice": 0.5},
        {"step": 3, "loss": 0.125},
    ]
    assert History(path).rows == []
    assert read_rows(tmp_path / "none.csv") == []
