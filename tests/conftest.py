"""What more than one layer of tests stands on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.soft_tokens import SoftHsmFolder


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsmFolder]:
    """A folder for SoftHSM tokens, in force for the whole test process."""
    folder = SoftHsmFolder.create(tmp_path_factory.mktemp("softhsm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder.configuration))
        yield folder
