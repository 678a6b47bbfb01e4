#compdef pyhome
# Completion of pyhome(1) for zsh. The command knows its own words: it answers with three lines for each, kind, word and help.
local -a answers words_found
local kind word help
answers=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) _PYHOME_COMPLETE=zsh_complete pyhome 2>/dev/null)}")
for kind word help in "${answers[@]}"; do
    case $kind in
        plain) words_found+=("${word//:/\\:}${${help:#_}:+:$help}") ;;
        file) _files ;;
        dir) _files -/ ;;
    esac
done
(( $#words_found )) && _describe -V pyhome words_found
