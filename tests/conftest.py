"""What every test may use: the Hypothesis profiles and the devices."""

import pytest
from hypothesis import settings

from minigrad.backend import DeviceError, backend_for

from . import strict_backend  # registers the device "strict"

# The same examples in every run; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("repeat", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
# `make soak`: test_op, which takes a fifth of a profile's examples, gets a thousand.
settings.register_profile("soak", deadline=None, max_examples=5000, database=None, print_blob=True)
settings.load_profile("repeat")


@pytest.fixture(
    scope="session", params=["cpu", strict_backend.strict_backend.device, pytest.param("cuda", marks=pytest.mark.gpu)]
)
def device(request: pytest.FixtureRequest) -> str:
    """The name of each device in turn; "cuda" is left out only where no kernel can run."""
    name: str = request.param
    try:
        return backend_for(name).device
    except DeviceError as error:
        pytest.skip(str(error))


collect_ignore_glob = ["**/make_*.py"]  # they make fixtures, with PyTorch, which tests do without
