"""How the HTML pages are filled in: the audit, the report, the page to drop a radiograph on."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment(package: str) -> Environment:
    """Makes the environment of a package's HTML templates.

    Text from data is escaped, and a name that a template was not given is an error.

    Args:
        package: The package in whose folder `templates/` lies.
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
