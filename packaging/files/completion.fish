# Completion of pyhome(1) for fish. The command knows its own words.
function __pyhome_words
    for answer in (env COMP_WORDS=(commandline -cp | string collect) COMP_CWORD=(commandline -t | string collect) _PYHOME_COMPLETE=fish_complete pyhome 2>/dev/null)
        set -l found (string split -m 1 , -- $answer)
        switch $found[1]
            case plain
                echo $found[2]
            case file
                __fish_complete_path (commandline -ct)
            case dir
                __fish_complete_directories (commandline -ct)
        end
    end
end
complete --no-files --command pyhome --arguments '(__pyhome_words)'
