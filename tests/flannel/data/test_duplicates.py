from flannel.data.duplicates import joined_groups


def test_groups_that_share_a_file_are_joined_in_chains():
    groups = ["d", "c", "c", "b", "a", "e"]
    files = ["1", "1", "2", "2", "3", "4"]  # d-c by 1, c-b by 2
    assert joined_groups(groups, files) == ["b", "b", "b", "b", "a", "e"]


def test_without_duplicates_nothing_changes():
    assert joined_groups(["b", "a", "b"], ["1", "2", "3"]) == ["b", "a", "b"]
