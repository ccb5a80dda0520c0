"""Print the completion of commands and options for a shell."""

from argparse import ArgumentParser, Namespace

EXAMPLE = (
    'mouseflow-bot completion bash   # ~/.bashrc: eval "$(mouseflow-bot completion bash)"\n'
    "mouseflow-bot completion zsh    # the same in ~/.zshrc, after compinit\n"
    "mouseflow-bot completion fish > ~/.config/fish/completions/mouseflow-bot.fish"
)


def options(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def run(args: Namespace) -> int:
    """Print the script that the shell evaluates."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["mouseflow-bot"], shell=args.shell))
    return 0
