#compdef hsrzoo
_hsrzoo_completion() {
    local type key help
    local -a names parts helped
    for type key help in "${(@f)$(env COMP_WORDS="${(pj:\n:)words[1,CURRENT]}" COMP_CWORD=$((CURRENT-1)) \
        _HSRZOO_COMPLETE=zsh_complete hsrzoo 2> /dev/null)}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                if [[ $help != _ ]]; then helped+=("$key:$help")
                elif [[ $key == *[/:=] ]]; then parts+=("$key")
                else names+=("$key")
                fi ;;
        esac
    done
    (( $#helped )) && _describe -V unsorted helped -U
    (( $#names )) && compadd -U -V unsorted -a names
    (( $#parts )) && compadd -U -S '' -V unsorted -a parts
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _hsrzoo_completion "$@"
else
    compdef _hsrzoo_completion hsrzoo
fi
