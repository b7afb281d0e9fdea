_hsrzoo_completion() {
    local IFS=$'\n' type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                [[ $value == *[/:=] ]] && compopt -o nospace
                printf -v value %q "$value"
                COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_WORDS="${COMP_WORDS[*]:0:COMP_CWORD+1}" COMP_CWORD=$COMP_CWORD \
        _HSRZOO_COMPLETE=bash_complete "$1" 2> /dev/null)
}
complete -o nosort -F _hsrzoo_completion hsrzoo
