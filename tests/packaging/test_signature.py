from __future__ import annotations

import stat

import pytest

from medimg.errors import InputError
from medimg.packaging.signature import generate_keys, sign, verify


@pytest.fixture
def keys(tmp_path):
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    assert len(generate_keys(private, public)) == 64
    return private, public


def test_sign_and_verify(keys, tmp_path):
    private, public = keys
    text = sign(b"content", private)
    verify(b"content", text, public, where=tmp_path)
    with pytest.raises(InputError, match="changed after signing"):
        verify(b"c0ntent", text, public, where=tmp_path)
    for damaged in ("", "{}", text.replace('"signature": "', '"signature": "?')):
        with pytest.raises(InputError, match="damaged"):
            verify(b"content", damaged, public, where=tmp_path)


def test_the_private_key_is_private_and_never_overwritten(keys):
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600
    with pytest.raises(InputError, match="already there"):
        generate_keys(*keys)


def test_what_is_no_key_is_named(keys, tmp_path):
    private, public = keys
    with pytest.raises(InputError, match="no usable private key"):
        sign(b"", public)
    with pytest.raises(InputError, match="no usable public key"):
        verify(b"", sign(b"", private), private, where=tmp_path)
    with pytest.raises(InputError, match="no usable private key"):
        sign(b"", tmp_path / "none.pem")
