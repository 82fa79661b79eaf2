"""Where open sets of radiographs and lung masks come from, for who has none yet."""

from pathlib import Path

_UNTRIED = "These commands were not tried here; sizes and numbers are the publishers' or about."


def how_to_get_radiographs(folder: Path) -> str:
    """Returns the commands that fetch the two open sets of the paper into a folder."""
    return (
        "Put the data sets there as they are downloaded, for example:\n"
        "  git clone --depth=1 https://github.com/ieee8023/covid-chestxray-dataset "
        f"{folder}/covid-chestxray-dataset    # about 580 MB\n"
        f"  kaggle datasets download paultimothymooney/chest-xray-pneumonia -p {folder} --unzip"
        "    # 5,863 files, over 1 GB; needs an account\n"
        f"{_UNTRIED}"
    )


def how_to_get_lung_masks(folder: Path) -> str:
    """Returns the commands that fetch open radiographs with lung masks; no registration first."""
    return (
        f"Put radiographs with lung masks into {folder}, for example:\n"
        "  curl -LO https://openi.nlm.nih.gov/imgs/collections/NLM-MontgomeryCXRSet.zip"
        "    # 138 radiographs, about 620 MB; no registration\n"
        f"  unzip NLM-MontgomeryCXRSet.zip -d {folder}\n"
        f"  kaggle datasets download anasmohammedtahir/covidqu -p {folder} --unzip"
        "    # 33,920 radiographs; needs an account\n"
        f"{_UNTRIED}"
    )
