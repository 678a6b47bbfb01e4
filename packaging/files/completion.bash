# Completion of pyhome(1) for bash. The command knows its own words; it is asked with each line so far in the environment.
_pyhome() {
    local answer
    COMPREPLY=()
    while IFS= read -r answer; do
        case $answer in
            plain,*) COMPREPLY+=("${answer#plain,}") ;;
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _PYHOME_COMPLETE=bash_complete pyhome 2>/dev/null)
}
complete -o nosort -F _pyhome pyhome
