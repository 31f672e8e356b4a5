# bash completion for berth(1)

# Names come from berthd, else from the files. What neither knows is not offered, and nothing is said about it.
_berth_names() {
  local names
  if names=$(berth list --no-legend "$@" 2>/dev/null </dev/null); then
    while read -r name _; do
      [[ -z $name ]] || printf '%s\n' "$name"
    done <<<"$names"
  elif (($# == 0)); then
    local file
    for file in /etc/berth/*.conf /run/berth/*.conf /usr/lib/berth/*.conf; do
      file=${file##*/}
      [[ $file == '*.conf' || $file == berthd.conf ]] || printf '%s\n' "${file%.conf}"
    done
  fi
}

# The ports that are held, as `why` takes them.
_berth_ports() {
  berth list --no-legend "$@" 2>/dev/null </dev/null | grep -Eo '\b(tcp|udp) [^ ,]*:[0-9]+' |
    sed -E 's/^(tcp|udp) .*:([0-9]+)$/\2\n\2\/\1/' | sort -u
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
      --control | --config-dir | --root | --count)
        [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))
        ((i++))
        [[ $word == --control && $i -lt $COMP_CWORD ]] && control=(--control "${COMP_WORDS[i]}")
        ;;
      --json) [[ ${COMP_WORDS[i + 1]} == = ]] && ((i += 2)) ;;
      -*) ;;
      *) [[ -z $verb ]] && verb=$word ;;
    esac
  done

  local assigned=''
  if [[ $cur == = ]]; then
    cur='' prev=${COMP_WORDS[COMP_CWORD - 1]} assigned=yes
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]} assigned=yes
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
    --count) return ;;
    --json)
      if [[ -n $assigned ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'short pretty' -- "$cur")
        return
      fi
      ;;
  esac

  if [[ $cur == -* ]]; then
    local options='--control --json --no-legend --no-pager --help --version'
    [[ $verb == check || $verb == generate || $verb == import ]] && options+=' --config-dir'
    [[ $verb == import ]] && options+=' --listening --write --root'
    [[ $verb == generate ]] && options+=' --diff --precompute --root'
    [[ $verb == watch ]] && options+=' --count'
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    return
  fi
  case $verb in
    '') mapfile -t COMPREPLY < <(compgen -W 'list status why watch verify check release reload generate import' -- "$cur") ;;
    status | verify | release) mapfile -t COMPREPLY < <(compgen -W "$(_berth_names "${control[@]}")" -- "$cur") ;;
    why) mapfile -t COMPREPLY < <(compgen -W "$(_berth_ports "${control[@]}")" -- "$cur") ;;
    import) mapfile -t COMPREPLY < <(compgen -W 'portreserve socket' -- "$cur") ;;
    import) mapfile -t COMPREPLY < <(compgen -W 'portreserve socket' -- "$cur") ;;
    check)
      if [[ /$cur == */portreserve/* ]]; then
        _berth_files -f -- "$cur"
      else
        _berth_files -f -X '!*.conf' -- "$cur" && _berth_files -d -- "$cur"
      fi
      ;;
  esac
}

complete -F _berth berth
