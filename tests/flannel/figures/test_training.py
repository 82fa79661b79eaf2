from flannel.figures.training import training_curves


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
