from flannel.comparison.figures.training import learning_curves, training_curves


def test_training_curves_are_drawn_by_arm_and_learner(study_files):
    for arm, learner in (("global", "vgg19_bn"), ("patched", "resnet152")):
        folder = study_files.folder / "base" / arm / learner / "fold0"
        folder.mkdir(parents=True)
        (folder / "curves.csv").write_text("epoch,train/loss,val/macro_f1\n0,2,0.5\n1,1,0.75\n")
    figure = training_curves(study_files.folder)
    loss, _, macro, _ = figure.axes
    assert loss.get_title() == "global"
    assert loss.lines[0].get_ydata().tolist() == [2, 1]
    assert macro.lines[0].get_ydata().tolist() == [0.5, 0.75]
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {"vgg19_bn", "resnet152"}


def test_loss_and_accuracy_stand_beside_each_other_with_every_repeat(study_files):
    text = "epoch,train/loss,val/loss,train/accuracy,val/accuracy\n0,2,3,0.5,0.25\n1,1,2,0.75,0.5\n"
    for place in ("global/small", "global/small_seed2", "masked/small", "global/other"):
        folder = study_files.folder / "base" / place / "fold0"
        folder.mkdir(parents=True)
        (folder / "curves.csv").write_text(text)
    loss, accuracy, *_ = learning_curves(study_files.folder, "small").axes
    assert loss.get_ylabel() == "global: loss"
    assert [line.get_ydata().tolist() for line in loss.lines] == [[2, 1], [2, 1], [3, 2], [3, 2]]
    assert accuracy.lines[0].get_xdata().tolist() == [1, 2]
    assert accuracy.lines[-1].get_ydata().tolist() == [0.25, 0.5]
    assert learning_curves(study_files.folder, "vgg19_bn") is None
