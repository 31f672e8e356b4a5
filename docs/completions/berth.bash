# bash completion for berth(1)

# Names come from berthd itself. Without one there are none, and nothing is said about it.
_berth_names() {
  berth list --no-legend "$@" 2>/dev/null </dev/null | while read -r name _; do
    printf '%s\n' "$name"
  done
}

# Adds what compgen finds. The option makes bash quote blanks and put a slash behind a directory.
_berth_files() {
  local -a found
  mapfile -t found < <(compgen "$@")
  COMPREPLY+=("${found[@]}")
  compopt -o filenames 2>/dev/null
  return 0
}

_berth() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local -a control=()
  local verb='' word i
  COMPREPLY=()

  # An option's value that stands after "=" is a word of its own: --control = PATH.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    case $word in
      --control | --config-dir | --root)
        [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
        ((i++))
        [[ $word == --control && $i -lt $COMP_CWORD ]] && control=(--control "${COMP_WORDS[i]}")
        ;;
      -*) ;;
      *) [[ -z $verb ]] && verb=$word ;;
    esac
  done

  if [[ $cur == = ]]; then
    cur='' prev=${COMP_WORDS[COMP_CWORD - 1]}
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case $prev in
    --control)
      _berth_files -f -- "$cur"
      return
      ;;
    --config-dir | --root)
      _berth_files -d -- "$cur"
      return
      ;;
  esac

  if [[ $cur == -* ]]; then
    local options='--control --json --no-legend --help --version'
    [[ $verb == check || $verb == generate || $verb == import ]] && options+=' --config-dir'
    [[ $verb == import ]] && options+=' --listening --write --root'
    [[ $verb == generate ]] && options+=' --diff --precompute --root'
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    return
  fi
  case $verb in
    '') mapfile -t COMPREPLY < <(compgen -W 'list status check reload generate import' -- "$cur") ;;
    status) mapfile -t COMPREPLY < <(compgen -W "$(_berth_names "${control[@]}")" -- "$cur") ;;
    import) mapfile -t COMPREPLY < <(compgen -W 'portreserve socket' -- "$cur") ;;
    check) _berth_files -f -X '!*.conf' -- "$cur" && _berth_files -d -- "$cur" ;;
  esac
}

complete -F _berth berth
