# Sourced by test.sh: programs of the system that some tests drive. They are installed where this may be done, which is
# as root on Debian or Ubuntu; elsewhere the tests that need them are skipped and say so.
#   chromium       opens the report's page                libpango, a CJK font   make the report's PDF
#   orthanc, dcmtk   real DICOM peers
system_packages=(chromium libpango-1.0-0 libpangoft2-1.0-0 fontconfig fonts-wqy-microhei orthanc orthanc-dicomweb dcmtk)
wanted=()
if command -v dpkg-query >/dev/null 2>&1; then
  for package in "${system_packages[@]}"; do
    if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
      wanted+=("$package")
    fi
  done
fi
if [ "${#wanted[@]}" -gt 0 ]; then
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing for the tests: ${wanted[*]}"
    # Nothing that is installed here may start by itself.
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${wanted[@]}"; } >/dev/null 2>&1; then
      echo "Not installed: ${wanted[*]}. The tests that need them are skipped."
    fi
  else
    echo "Not here, and not installed without root and apt: ${wanted[*]}. The tests that need them are skipped."
  fi
fi
