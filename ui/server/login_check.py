"""Says what is wrong with the entry of the OpenID provider, on standard output: `python -m ui.server.login_check`; nothing where it is right."""

from streamlit.auth_util import validate_auth_credentials
from streamlit.errors import StreamlitAuthError

if __name__ == "__main__":
    try:
        validate_auth_credentials("default")
    except StreamlitAuthError as error:
        print(" ".join(str(error).split()))
