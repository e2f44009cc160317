"""Record HTTP without secrets, for conftest.py: hooks for VCR and pytest-recording.

    import pytest
    from egressmon import cassettes

    @pytest.fixture(scope="module")
    def vcr_config():
        return cassettes.vcr_config()

Headers with credentials are dropped, and secrets in addresses and bodies replaced by
`***`, before a cassette is written. docs/operations/cassettes.md is the runbook.
"""

from egressmon.cassettes.hooks import (
    before_record_request,
    before_record_response,
    vcr_config,
)

__all__ = ["before_record_request", "before_record_response", "vcr_config"]
