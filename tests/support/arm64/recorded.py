"""A program of arm64 and what it wrote, by make.sh: compressed, in base64."""

PROGRAM = (
    "eNrtWE9oVEcY/+bNy2aT3SaLBg1N3N2mOaQQH2vwICr44qaJlKW1MUIOhZiYrRHMH3afsBrQPXjIsatC"
    "L00I1ENmT4IHC21JihYELyFG8dCEjdWyFIpCesiDbl6/ec4keY+NkWpv74NvfzPf/H7fNzP73rIzVz9N"
    "dCqEgDQF7gLvtVLd7usingltUDB2CCrxsxqqbG4FbDXdgRNiUCKIPFznQ39a+7r/NKI7sEVmIU6dKvyB"
    "iD8gugOjgi7RL/DUC2Pwv+hOCl1Mfd2PqboDE4InUdDgS9T54O1Nbm+3qLfTvkgkW+qGxHfR9flpHprj"
    "MSrG+5rp4yKFfIGS/ApV8s8ozaN2cY72PTn2MX1cGv+ZlSjkVgNg7gaYTyuQQ9k8TOhm/xXdxEoPC3vB"
    "pE3ZhWd0d/4jyC6AP7vwp2V9SwnGvoecjL3A2O97dXMAdTJWwNhqQDdL4/dmZrHeZt1Zu65dCyDXCnDz"
    "N+SWxn8py1stO/ajPab49esrcchFM01rnFew6/1aNg+ufT46AeYZnN9L5MaxLsW2gk7QpwPZhTuuWvsw"
    "HkYvoP4vHItCdJHvK24+U4KEqXUK8zVS5m9WWXVrBQse9LGao5Us1OFnuxJVrK6nmu35KsDqB4Pswwsf"
    "sEajhq1grrBay3A+IZIFM3INTF7r/8rL92C9NrKGe30bXnWZf+A6sujrle1r5fbpb9cekAZ6JCHejx9K"
    "ljWIuIiY4e/AumVNIxqI9xG/QSwi/oQYxIn8gxjjE7Isq4M4n3tyuRvUTJg0BCN2rJ7nw7yNYryZ/yah"
    "94ha0L6/vSY26ZuqOH5D7V1eelSDEfH+9qDfQl6L5IUmlSnSuby0hcNzzMj8G5y4g/Md+jRyWiXn5GT1"
    "VFWXgzMn8uiOPIkNDl/Lc/T7yKnjnMqwHVsTsV7wzDPPPPPMM88888yz92hR/Y3DXfH44WhLR3LgfP9I"
    "9ECb1qbF9h84+IloAmjpobSRMvoHQBsZNZLauZGL2lhqdCyZMi6BZiQzBmjJob6vU/3Dyb6hwdRmD7Rz"
    "o4b9oY1dwMZAOg3a2dHh4eSI8e7LCvC/0vZ9hfs87zzHg+s8Ly285Q6CW1Hoi0J/QnHyVZe+WeglbfNe"
    "wHkfsJ2+zaXPCn1WEP3kzfM/KvTyfL9xT1DrPFe59RLbXfqi0BeFvn4H/WeiTd3PmShcv8P8vxD1Y9tc"
    "hERcYVIGaZnnIiL0vdvopf0LSFmkIQ=="
)

WRITTEN = (
    "eNpjUHBgAIEL7A0MoUCamWF4ggVQ/01hckDhdzA7oKhrgNIboPJbwOqjGQ5A+XfAfHMGAQ4In4MZIo8L"
    "kBqeNmDz/BkYFFDd2YDmPkLAYahEDDQcWVggLv4A9e8DtHgxgNIqYHUScHFYPPCA1atjhCMAo7EZbA=="
)
