"""Commands of gradc, run in this process."""

from gradc import cli


def source(folder, text):
    path = folder / "source.grad"
    path.write_text(text)
    return path


def run(*arguments, capsys):
    """Exit code, standard output and standard error of a command in this process."""
    code = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err
