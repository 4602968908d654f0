"""Starting, joining and stopping the embedded server."""


def test_a_role_is_ordinary(as_role, db):
    who = as_role()
    assert who.execute("SELECT current_setting('is_superuser')").fetchone() == ("off",)
    assert db.execute("SELECT current_setting('is_superuser')").fetchone() == ("on",)
