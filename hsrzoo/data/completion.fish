function _hsrzoo_completion
    for completion in (env _HSRZOO_COMPLETE=fish_complete COMP_WORDS=(commandline -cp | string collect) \
        COMP_CWORD=(commandline -t) hsrzoo 2> /dev/null)
        set -l parts (string split -m 1 "," $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command hsrzoo --arguments "(_hsrzoo_completion)"
