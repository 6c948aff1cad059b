"""``mvc completion``: the scripts by which shells ask what may come next.

What answers them is ``mvc.cli.complete``.
Public names: ``completion``.
"""

from __future__ import annotations

import click

from mvc.cli import command, output

# bash cuts words at what COMP_WORDBREAKS has, and replaces only the last piece, its $2. So mvc
# is given the whole line and answers with whole words, of which that is cut off which stays.
BASH = """\
# Completion of mvc for bash; made by: mvc completion bash
_mvc() {
    local kind value text word="" quoted="" head="" action
    local IFS=$'\\n'
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value text; do
        case $kind in
        word | quoted)
            word=$value
            [[ $kind == quoted ]] && quoted=yes
            [[ $word == *"$2" ]] && head=${word%"$2"}
            ;;
        plain | open)
            value=${value#"$head"}
            [[ -n $quoted ]] || printf -v value '%q' "$value"
            COMPREPLY+=("$value")
            [[ $kind == open ]] && compopt -o nospace 2>/dev/null
            ;;
        file | dir)
            action=-f
            [[ $kind == dir ]] && action=-d
            for value in $(compgen "$action" -- "$word"); do
                COMPREPLY+=("${value#"$head"}")
            done
            compopt -o filenames 2>/dev/null
            ;;
        esac
    done < <(_MVC_COMPLETE=bash "$1" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -F _mvc mvc
"""
ZSH = """\
#compdef mvc
# Completion of mvc for zsh; made by: mvc completion zsh
_mvc() {
    local line kind value text typed=("${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}")
    local -a plain shown open
    for line in ${(f)"$(_MVC_COMPLETE=zsh "${typed[@]}" 2>/dev/null)"}; do
        kind=${line%%$'\\t'*} line=${line#*$'\\t'}
        value=${line%%$'\\t'*} text=${line#*$'\\t'}
        case $kind in
        plain)
            plain+=("$value")
            shown+=("$value${text:+  -- $text}")
            ;;
        open) open+=("$value") ;;
        file) _files ;;
        dir) _files -/ ;;
        esac
    done
    (( $#plain )) && compadd -l -d shown -a plain
    (( $#open )) && compadd -S '' -a open
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _mvc "$@"
else
    compdef _mvc mvc
fi
"""
FISH = """\
# Completion of mvc for fish; made by: mvc completion fish
function __mvc_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (_MVC_COMPLETE=fish $words[1] $words[2..-1] "$current" 2>/dev/null)
        set -l parts (string split \\t -- $line)
        switch $parts[1]
            case file
                __fish_complete_path "$current"
            case dir
                __fish_complete_directories "$current"
            case '*'
                printf '%s\\t%s\\n' $parts[2] $parts[3]
        end
    end
end
complete -c mvc -f -a '(__mvc_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@command.command(
    "completion",
    usage="bash|zsh|fish",
    examples=[
        ('eval "$(mvc completion bash)"', "now; put the line into ~/.bashrc for always"),
        ('eval "$(mvc completion zsh)"', "the same in ~/.zshrc, below compinit"),
        ("mvc completion fish > ~/.config/fish/completions/mvc.fish", "for always"),
    ],
)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print a script that completes mvc in a shell.

    With it, TAB completes commands, options, families, versions and tags,
    the files of a version that is a folder, and names of metrics:
    resnet18@<TAB> shows latest, best, the tags and the versions. Names come
    from the registry that the command line is about, also with -C; what is
    slow or cannot be read is left out.
    """
    output.result(SCRIPTS[shell].rstrip("\n"))
